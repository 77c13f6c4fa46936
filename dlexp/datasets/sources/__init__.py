"""The places that examples come from, each with one manifest: arrays, folders, tables, libraries, packs."""
