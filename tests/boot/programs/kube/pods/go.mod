module imgbuild.test/pods

go 1.26.6
