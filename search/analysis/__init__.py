"""Text analysis for BM25: words, stems, stop words, languages."""
