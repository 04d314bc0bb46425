"""Planted models for experiment 11: `experiments.lab.planted_two_axes`.

A word of the prompt writes harmfulness H and a part of refusal of its own, r. Refusal is R = .6 H +
r, so that some harmful words are accepted and some harmless ones refused. Worlds differ in what the
sites see of H and R at the two positions, and in what the inversion's answer reads.

    world                                           11a    11b    why
    harmfulness first, refusal last                 true   true   H at the instruction, R at the end
    a part of harmfulness stays at the end          true   -      R and .3 H at the end
    one axis                                        false  false  odds and inversion read H itself
    both at both positions                          false  -      H and R at either position
    swapped                                         false  false  R at the instruction, H at the end
    a whim at the end, which the odds share         false  false  one axis; at the last token the
                                                                  filler words disturb it, unless
                                                                  the request is put otherwise
    refusal is written after the sites              false  false  H at both; R by the last layer
    the word on harm follows refusal                true   false  the inversion reads R
    the word on harm is read from the words         true   false  no state at the sites moves it
    harm does not lead to refusal                   true   false  R is r alone, which harmful words
                                                                  have more of
"""
