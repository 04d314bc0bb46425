"""Planted models for experiment 09: `experiments.lab.planted_rounds`.

For 09a, b and d a harmful word writes two features, at layers of their own: "refuse", which the
head reads at the first word of the answer, and "keep", which it reads for whatever a world says.
Sites before "refuse" is written have a direction that is mostly "keep": a weak one. For 09c the
taught models are hand-set too, so that the number of directions is known.

    world                                            a      b      d      why
    keep stops, words and keeps out Chinese          true   true   true   without it a refusal goes
                                                                          on, in other words; with
                                                                          neither the answer ends in
                                                                          Chinese
    keep stops a refusal                             true   false  false  and nothing else
    keep words a refusal                             false  true   false  and nothing else
    refusal outlasts the strong direction            false  -      -      the last layer writes it
                                                                          anew: mixed under both
    every other answer is mixed, edited or not       false  false  false  so is Chinese, and words
                                                                          do not depend on keep
    any edit changes stop, words and Chinese         false  false  false  they hang on a feature so
                                                                          small that any push turns it

    world                                            c      why
    an axis per round                                true   words of each round write an axis of
                                                            their own, at a layer of its own; any
                                                            of them is enough to refuse
    an axis per round, words differ more             true   in a noisier model
    rounds strengthen one axis                       false  there is nothing else to ablate
    axes come with lessons, not with words           false  the control has as many
"""
