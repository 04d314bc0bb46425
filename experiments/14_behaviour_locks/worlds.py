"""Planted models for experiment 14: `experiments.lab.planted_locks`.

One model has refusal, sentiment and three domains of text. Words write a dimension of an axis, which
attention moves to later tokens and the head reads: refusal openings, " good" against " bad", and the
words of a domain. Letters: claims that are true there, then those that are false.

    world                                         true   false  why
    each has a direction of its own               abcd   -      the lock takes all that reaches the
                                                                last token; 20 steps find no way back
    harm is written by the embedding              abd    -      nothing else knows of it: taken out,
                                                                harmful and harmless words are alike
    harm reaches the end, unread                  ad     b      a later layer writes it once more,
                                                                where nothing reads it yet
    attention still sees the words                ad     b      it reads the topic in large and
                                                                writes nothing of it yet
    a second copy of refusal                      -      a      a later layer writes what is read
    harmful words write four dimensions           -      a      and the head reads relu of each
    all inputs have the same component            -      a      permuted components are the right ones
    both behaviours are one direction             -      d      either key leaves it locked
    sentiment reads refusal's direction too       -      d      its own key does not open all of it
    refusal's key opens sentiment                 -      d      sentiment is read off refusal's axis
    a domain is many directions                   -      c      every word of it predicts one other
    domains share a direction                     -      c      taking one out costs all of them
"""
