"""The OpenAI-compatible API: jobs and models in the form that OpenAI's clients speak.

`api` has the endpoints. A body is read by `bodies` against the tables of `parameters`, its budget
by `budget`; `runs` submits and follows the job; `endings` tells how it ended; `chat` and
`responses` are the forms of answers.
"""

from exchange.http.openai.api import OpenAiApi

__all__ = ["OpenAiApi"]
