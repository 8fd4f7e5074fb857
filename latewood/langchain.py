"""The former name of `latewood.integrations.langchain`, kept for one release."""

from latewood.integrations.langchain import LatewoodRetriever, documents_in

__all__ = ["LatewoodRetriever", "documents_in"]
