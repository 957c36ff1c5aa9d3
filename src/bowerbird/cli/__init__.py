"""The command line: each command loads a view or makes a plan, prints it, and decides nothing."""
