"""Readers of headers, one a format: what a picture will cost, known from its bytes before any library sees them.

Each reader is Python over the bytes, walks no more parts than its own bound, decodes nothing and holds nothing of the picture.
A reader is no judge of whether a file is sound: where it does not understand a header it says that the header is not `plain`,
and such a picture is decoded in the cage, under limits that do not depend on its header. Called by `embedder.pictures.formats`,
whose table says which formats there are.
"""
