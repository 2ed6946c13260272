# %% [markdown]
# # What int8 and one bit do to my answers
#
# A vector store keeps vectors in fewer bytes: *int8* is a byte for each number, *one bit* only says
# whether the number is large or small. What does that change? 636 emoji ask for their names,
# with the small model that ships with Isthmus.

# %%
import numpy as np
from matplotlib import pyplot

import isthmus as im
from isthmus.encoders.emoji_world import load_world

world = load_world()
model = im.load_encoder("emoji")
pictures = model.encode_images(world.pictures("twitter")[::3])
names = model.encode_texts(world.texts()[::3])
print(f"{len(names)} names of {names.shape[1]} numbers, 4 bytes each")

# %% [markdown]
# ## Answers that stay
#
# *Agreement* is the share of pictures whose first answer is still that of exact search. `none` is
# plain search, `center-both` a closing that changes no answer of float vectors.

# %%
codes = {"fp16": 256, "int8": 128, "sq4": 64, "rabitq": 24, "sign": 16}  # bytes of a vector here
table = im.stress(
    pictures, names, perturb=list(codes), closers="center-both", score="dot", fit_share=0.5
)
kept = {}
for row in table.rows():
    kept[row["family"], row["closer"]] = row["agreement"]
    if row["closer"] == "none":
        print(f"{row['family']:<8} {row['agreement']:.2f} kept, {row['accuracy']:.2f} right")

# %%
figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
for place, closer in enumerate(("none", "center-both")):
    heights = [kept[code, closer] for code in codes]
    axes.bar(np.arange(len(codes)) + 0.4 * place, heights, 0.38, label=closer)
axes.set_xticks(
    np.arange(len(codes)) + 0.2, [f"{code}\n{size} bytes" for code, size in codes.items()]
)
axes.set_ylabel("first answers kept")
axes.legend()
[axes]

# %% [markdown]
# Half of the bytes cost nothing here, and a quarter 3 answers in 100. One bit costs most of the
# answers, and there the closing helps. It does not bring back all of them.
#
# ## Which answers?

# %%
codec = im.codecs.fit_codec("rabitq", names)
coded = im.codecs.search_through(pictures, names, codec, k=1, rescored=20, score="cosine")
texts = world.texts()[::3]
exact, one_bit, again = (found[:, 0] for found in (coded.exact, coded.coded, coded.rescored))
flipped = np.flatnonzero(exact != one_bit)
for query in flipped[:6]:
    print(f"{texts[query]}: {texts[exact[query]]} -> {texts[one_bit[query]]}")
print(f"share that flips: {len(flipped) / len(texts):.2f}")

# %% [markdown]
# ## The cheap cure
#
# Let the store take the best 20 by code and rank those again by float vectors, which can stay on
# disk.

# %%
print(f"share that flips after rescoring 20: {(exact != again).mean():.2f}")

# %% [markdown]
# ## How few bytes, then?
#
# `plan` searches for the smallest code and the smallest number of rescored candidates that keep a
# share of the answers, on pictures that it has not seen.

# %%
plan = im.plan(pictures, names, target=0.9)
plan

# %% [markdown]
# On the command line: `isthmus plan images.npy captions.npy --target 0.9`. The same for your
# store's own codes: [stores](stores.md#which-closer-for-this-store).
