"""The commands of the command line; `medshare.cli` loads each one when it is called."""
