"""How good a network is: metrics against truth, peers on the same data, and the report."""
