"""The version, said once: the build, the headers and the command line read it here."""

__version__ = "0.1.0"
