//! The network edge of Tally: SDK protocols, the Cube API, tokens, settings and the command line.
