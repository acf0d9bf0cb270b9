"""The UST-Hand network in two stages. Importing the package itself loads no torch; its modules do, but for `config`."""
