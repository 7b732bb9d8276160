"""The page: a picture goes in, what is wrong with it is said and painted, a restored one comes out.

`ddrm-fast serve`, with the extra ``web``. It stands on the command line: whatever it does, it also says as a
line of `ddrm-fast restore` that makes the same picture.
"""
