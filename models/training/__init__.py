"""Training of the network. Importing the package itself and its `config` loads no torch."""
