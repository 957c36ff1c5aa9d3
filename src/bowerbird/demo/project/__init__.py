"""The demo's project, as `bowerbird demo` copies it: a normal project, to read and to change."""
