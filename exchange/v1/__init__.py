"""The API: generated from `proto/exchange/v1` by `make proto`, never edited by hand."""
