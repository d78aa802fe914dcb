"""When what is trained: phases, the balance of the two players, the choice of the generator that a run ends with.

Decisions only, as pure functions of counts and figures. Who carries them out is `rlgan.training`.
"""
