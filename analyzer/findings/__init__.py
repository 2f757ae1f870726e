"""What stands out: each rule a pure function of tables."""
