# %% [markdown]
# # Closing a gap in a vector store
#
# The store here is FAISS, with one-bit codes (RaBitQ): 24 bytes for a vector of 128 numbers.
# Pictures of emoji ask for names. We count how many first answers are those of exact search, close
# the gap, put the closed vectors into a second index, and count again. Other stores work the same
# way ([deploy](deploy.md)).

# %%
import faiss
import numpy as np

import isthmus as im
from isthmus.encoders.emoji_world import load_world

world = load_world()
model = im.load_encoder("emoji")
rows = [model.encode_images(world.pictures("twitter")[::3]), model.encode_texts(world.texts()[::3])]
pictures, names = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows)
fit, test = slice(0, None, 2), slice(1, None, 2)  # pictures to fit on, pictures to judge by
print(f"{len(names)} names of {names.shape[1]} numbers; {len(pictures[test])} pictures judge")

# %% [markdown]
# ## As it is


# %%
def store_of(vectors):
    index = faiss.index_factory(vectors.shape[1], "RaBitQ", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


exact = (pictures[test] @ names.T).argmax(axis=1)
today = store_of(names).search(pictures[test], 1)[1][:, 0]
print(f"answers of exact search: {(today == exact).mean():.2f}")

# %% [markdown]
# ## Choose a closer
#
# `recommend` tries closers through this code, on pictures that they were not fitted on, and says
# whether closing is worth it at all. FAISS can hold each of the four here.

# %%
tried = ["center-queries", "center-both", "ridge-shift", "mean-shift"]
advice = im.recommend(pictures, names, perturb="rabitq", score="dot", closers=tried)
print("do nothing" if advice.nothing else advice.name)
advice

# %% [markdown]
# `center-both` takes each side's mean off it. What that does to a ranking is put back by one number
# for each name, the *candidate bias*. The promise is that no answer of float vectors changes:

# %%
closer = im.fit("center-both", pictures[fit], names, score="dot")
print(im.verify(closer, pictures[test], names).changed, "answers changed by the closing alone")

# %% [markdown]
# ## Put it into the store
#
# FAISS has no place for a number beside a vector, so it becomes one more coordinate: 129 numbers
# instead of 128. The pictures that ask get one as well.

# %%
from isthmus.deploy.export import as_inner_product

wide = as_inner_product(closer, names)
stored = wide.apply(names, "candidate").astype(np.float32)
asked = wide.apply(pictures[test], "query").astype(np.float32)
closed = store_of(stored).search(asked, 1)[1][:, 0]
print(stored.shape)
print(f"answers of exact search: {(today == exact).mean():.2f} -> {(closed == exact).mean():.2f}")

# %% [markdown]
# The pictures that were counted had no part in fitting the closer. What it costs: the names are
# stored once more, with one number each, and every query loses a mean before it asks.
#
# ## Keep it
#
# `closer.safetensors` is what a service loads; `closer.query(pictures)` is all it does to a query.
# Check the store whenever the model or its runtime changes ([canary](canary.md)).

# %%
closer.save("closer.safetensors")
again = im.Closer.load("closer.safetensors")
print(
    again.name, again.guarantee.kind, np.array_equal(again.query(pictures), closer.query(pictures))
)
