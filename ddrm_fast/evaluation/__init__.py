"""How good a restored picture is: metrics of pictures and of sets of pictures."""
