# %% [markdown]
# # A gap in five minutes
#
# A model such as CLIP turns pictures and texts into vectors of one space, so that a picture lies
# near its text. Isthmus ships with a small one of this kind, for emoji. Here are 636 drawings and
# their names; your own vectors go in the same way (`"images.npy"`, `"captions.npy"`).

# %%
import isthmus as im
from isthmus.encoders.emoji_world import load_world

world = load_world()
model = im.load_encoder("emoji")
pictures = model.encode_images(world.pictures("twitter")[::3])
names = model.encode_texts(world.texts()[::3])
print(pictures.shape, names.shape, world.texts()[:9:3])

# %% [markdown]
# ## How large is it?
#
# The *gap* is the distance between the mean picture and the mean name, of vectors of length 1. If
# both kinds filled the same region it would be near 0.

# %%
gap = im.measure(pictures, names, names=("pictures", "names"))
low, high = gap.interval("norm")
print(f"gap {gap['norm']:.2f} ({gap.severity}), between {low:.2f} and {high:.2f}")
print(f"cosine of a picture and its name: {gap['matched_cosine']:.2f} on average")
print(f"cosine of two pictures: {gap['intra_cosine']['a']:.2f} on average")

# %% [markdown]
# Two pictures of different things are more alike than a picture and its own name. That is the gap.
#
# ## Does it matter?
#
# An audit searches: each picture asks for its name. Then it disturbs the stored vectors, as stores
# do when they keep fewer bits, and counts first answers that change (*flips*).

# %%
found = im.audit(pictures, names, names=("pictures", "names"))
found

# %%
for line in found.report["directions"][0]["verdict"]:
    before, after = line["flips_before"], line["flips_after"]
    print(f"{line['disturbance']:<34}{line['state']:<16}{before:.2f} -> {after:.2f}")

# %% [markdown]
# Read it line by line. Where it says *safe as it is* or *do nothing*, leave your vectors alone.
# Where closing helps, the share of changed answers falls from the first number to the second.
#
# ## What does closing do?
#
# A *closing* moves one side towards the other, by a strength from 0 (as it is) to 1. On the left:
# how many answers survive noise. On the right: how many are right without noise. A closing that is
# worth having goes up on the left and stays level on the right.

# %%
found.plot("a_to_b")

# %% [markdown]
# `mean-shift`, the plain closing, falls on the right: it changes answers before anything is
# disturbed. `center-queries` keeps every one. That is its guarantee, and it can be checked on your
# rows:

# %%
closer = im.fit("center-queries", pictures, names)
checked = im.verify(closer, pictures, names)
print(checked.changed, "answers changed of", checked.queries)
checked

# %% [markdown]
# Next: [what int8 and one bit do to my answers](int8-and-one-bit.ipynb),
# [closing a gap in a vector store](closing-in-a-store.ipynb).
