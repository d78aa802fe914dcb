"""How a discriminator is trained: its losses and regularisers, the replay buffers of fakes, mismatched pairs.

Its networks live in `rlgan.discriminators`; when it is trained is decided in `rlgan.schedule`.
"""
