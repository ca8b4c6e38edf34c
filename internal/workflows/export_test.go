package workflows

// UnpackExport is what Export does with a run's result.
var UnpackExport = unpackExport
