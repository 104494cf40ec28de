module runjob/tests/cluster/aws

go 1.24.0
