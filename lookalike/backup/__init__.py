"""A collection as files and back: the export that is also the backup. Called by the command line; talks to a gateway.

    layout.py     what an export consists of, and how its files are read and written
    exporting.py  collection -> files
    importing.py  files -> collection

Vectors come along, so nothing is embedded again. What an export does not hold are the pictures themselves: those at URIs stay
where they are, and uploaded originals are in the artifacts, which have a backup of their own.
"""
