"""Planted models for experiment 13, in which words of the first sentence and of the counter-prompts
write the axis that the head reads as refusal.

| world | 13a | 13b | why |
|---|---|---|---|
| what a prompt writes is diluted | true | true | attention is uniform: each word counts one part in as many as there are tokens, so that counter-prompts and filler dilute the sentence; the vector is added at every token |
| diluted, and words differ more | true | true | the same in a noisier model |
| the last instruction shares the attention | true | false | attention goes to instructions alone: a counter-prompt takes half of the sentence's, filler takes nothing from either |
| all that is written adds up | false | false | an attention sink keeps every word's weight the same: counter-prompts take as much from both, filler from neither |
| the sentence writes a feature of its own | false | false | the head reads either feature; both undoers, and filler, write against the vector's only |
| each is undone by its own kind | false | false | counter-prompts write against the sentence's feature, the counter-vector against the vector's |
| filler speaks against refusal | false | false | words add up, also those of the filler, and the head has a floor: both are weakened alike |
| steering sentences do nothing | false | false | no match: untestable |
"""
