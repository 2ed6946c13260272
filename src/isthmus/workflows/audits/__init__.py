"""``audit``: two sets of embeddings in, one report and a closer per direction out."""

from isthmus.workflows.audits.auditing import Audit, audit
from isthmus.workflows.audits.options import AuditOptions

__all__ = ["Audit", "AuditOptions", "audit"]
