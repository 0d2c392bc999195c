"""Export of a collection to files, and import back: also the backup. The command line calls it; it talks to a gateway.

    layout.py     the files of an export, and how they are read and written
    exporting.py  collection -> files
    importing.py  files -> collection

An export holds the vectors, so an import embeds nothing. It does not hold the pictures: those at URIs stay where they are, and
uploaded originals are in the artifacts, which have a backup of their own.
"""
