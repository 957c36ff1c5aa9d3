"""From other houses: what a folder of files or a Feast repository declares, as a module of specs.

Each returns the module's text and notes of what it could not say; a person reads it, and keeps it.
"""
