"""What users test with: contract suites, private servers and fault injection."""
