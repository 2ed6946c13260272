"""An encoder and a closer in the frameworks that people search and evaluate with.

A file per framework, named as it is; importing one needs the framework (``docs/harnesses.md``). All
are thin: :class:`~isthmus.deploy.harnesses.closed.ClosedEncoder` in the framework's own form.
"""
