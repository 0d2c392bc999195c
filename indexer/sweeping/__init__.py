"""Delete means deleted: files that nothing needs any more are found by looking at all that may need one, and removed.

`roots` names what may still be asked for, `sweep` remembers that in memory that does not grow and removes the rest, and
`sweeper` sweeps again and again, in one worker at a time.
"""
