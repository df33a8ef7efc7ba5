"""Problem documents (RFC 9457): their types, and the middleware that turns errors into them."""

from todo_service.problems.middleware import RETRY_AFTER, Problem, problems
from todo_service.problems.types import BODY_BYTES, PAGE, TYPES, ProblemType

__all__ = ["BODY_BYTES", "PAGE", "RETRY_AFTER", "TYPES", "Problem", "ProblemType", "problems"]
