"""Planted models for experiment 10: words of the prompt write axes, the head reads an answer of them.

Seven behaviours, of which four (refusal, in a template; sentiment, register, persona, without)
are read, and three are at chance, unless said otherwise. Letters: the claims that are true (T) and
false (F) in a world; of the others it says nothing.

1  an axis for each; that of refusal turns by 25 degrees a layer, and later layers turn what they
   read along with it                                                                    T abc
2  axes that share a part (cosines of .36), so that every direction moves every behaviour a little;
   refusal turns as in 1                                                                 T abc
3  one axis for all                                                                      F ab
4  two of the four share an axis, the others have their own                              F ab
5  axes of their own, and a little of a shared one: the head reads the shared one alone  T a, F b
6  a large shared topic that nothing reads, beside axes of their own; it changes from layer to
   layer, and with it the cosine of refusal's directions, but not their effect           T b, F ac
7  an axis for each, but every behaviour is also moved by the axis of refusal            T a, F b
8  one axis for all, and so much noise that the directions hardly resemble each other    F ab
9  an axis for each; refusal turns, and is read 50 degrees off its direction: directions to one
   side do more than the first, those to the other less                                  T ab, F c
10 two behaviours are read, the others at chance; refusal turns as in 1                  T c, F ab
"""
