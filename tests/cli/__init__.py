"""The command line, mostly in process and against the emulator over real sockets."""
