//! Wire types, identifiers, scopes and problem codes shared by the client and the modules.
