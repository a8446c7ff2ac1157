//! Reading and writing back changes nothing.
