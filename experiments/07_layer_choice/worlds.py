"""Planted worlds for experiment 07: three behaviours, each a hand-set transformer of its own.

The words' noise is strengthened and weakened from layer to layer, and so is what harmful words
write. A direction taken where the noise is strong points half into noise: ablating it leaves part
of the behaviour. In every world but two the best layer is another in each behaviour, and is none of
those that depth alone picks.

name                                          true   false  why
quiet layers work, the norm is the same       a b d  c      noise blurs directions, and parts means
quiet layers work, the norm grows             b d    a c    raw variances grow with the norm
layers where the means part work, and are     c      a b d  harmful words write unequal amounts:
    loud                                                    variance grows where the axis is strong
an unread difference parts the means                 c      dead parts of the class difference
all layers work alike                                a-d    any pick has a share of 1: random too
quiet layers work, at one depth everywhere           a-d    depth alone picks them as well
there is no behaviour                                a-c    the head does not read the axis
"""
