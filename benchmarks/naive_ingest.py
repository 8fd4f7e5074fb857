"""What one would write without Latewood: unstructured, sentence-transformers, qdrant-client on a path.

    python -m benchmarks.naive_ingest FOLDER DATA MODEL_FOLDER

Only the two lines about the stand-in are not what a user would write: they keep unstructured from downloading
a spaCy model, and make it faster than it is by itself.
"""

import json
import sys
from pathlib import Path

from latewood.ingest.parsing.formats import unstructured_stub

unstructured_stub.install()

from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams
from sentence_transformers import SentenceTransformer
from unstructured.chunking.title import chunk_by_title
from unstructured.partition.auto import partition

CHARACTERS = 1000  # about 256 tokens


def main(folder: str, data: str, model_folder: str) -> None:
    """Make every file of a folder searchable."""
    model = SentenceTransformer(model_folder)
    client = QdrantClient(path=data)
    size = model.get_embedding_dimension()
    client.create_collection("docs", vectors_config=VectorParams(size=size, distance=Distance.COSINE))
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    number, failed = 0, 0
    for path in files:
        try:
            elements = partition(str(path))
        except (ValueError, KeyError, OSError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed += 1
            continue
        chunks = chunk_by_title(elements, max_characters=CHARACTERS, new_after_n_chars=CHARACTERS)
        texts = [chunk.text for chunk in chunks]
        if not texts:
            continue
        vectors = model.encode(texts, normalize_embeddings=True)
        points = [
            PointStruct(id=number + at, vector=vector.tolist(), payload={"uri": str(path), "text": text})
            for at, (text, vector) in enumerate(zip(texts, vectors, strict=True))
        ]
        client.upsert("docs", points)
        number += len(points)
    client.close()
    print(json.dumps({"documents": len(files) - failed, "failed": failed, "chunks": number}))


if __name__ == "__main__":
    main(*sys.argv[1:])
