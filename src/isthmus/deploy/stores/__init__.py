"""Stores of vectors: a file each, behind the methods of :class:`~.store.Store`.

``docs/stores.md`` has the addresses. :func:`deploy` writes a closer into a store,
:func:`check_deployment` compares the store's own answers with exact search, :func:`undo` removes
what was written.
"""

from isthmus.core.registry import module_is_registry
from isthmus.data.addresses import STORES, open_store
from isthmus.deploy.stores.checking import DeploymentCheck, check_deployment
from isthmus.deploy.stores.deploying import Deployment, deploy, undo
from isthmus.deploy.stores.forms import Form, choose_form
from isthmus.deploy.stores.mixed import MixedHits, search_mixed
from isthmus.deploy.stores.rows import StoreRows
from isthmus.deploy.stores.store import Mark, Store, StoreFacts
from isthmus.deploy.stores.trying import CLOSERS, StoreAdvice, recommend_in_store

module_is_registry(__name__, lambda: STORES)

__all__ = [
    "CLOSERS",
    "Deployment",
    "DeploymentCheck",
    "Form",
    "Mark",
    "MixedHits",
    "Store",
    "StoreAdvice",
    "StoreFacts",
    "StoreRows",
    "check_deployment",
    "choose_form",
    "deploy",
    "open_store",
    "recommend_in_store",
    "search_mixed",
    "undo",
]
