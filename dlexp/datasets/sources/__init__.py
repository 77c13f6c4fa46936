"""Sources of examples, each with a manifest: arrays, folders, tables, libraries, packs."""
