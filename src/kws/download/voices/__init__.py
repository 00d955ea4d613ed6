"""The voices that stage download can make."""
