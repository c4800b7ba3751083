//! Public validators of records, from PyPI: `scripts/validators` makes their environment once.

use std::path::{Path, PathBuf};
use std::process::Output;

use super::tools::{output, tool};
use super::workbench::script;

/// Reads a statement, and its predicate as what it says it is.
const IN_TOTO: &str = "\
import json, sys
from google.protobuf import json_format
from in_toto_attestation.v1 import statement, statement_pb2
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
value = json.load(open(sys.argv[1]))
parsed = json_format.ParseDict(value, statement_pb2.Statement())
statement.Statement.copy_from_pb(parsed).validate()
predicate = json_format.ParseDict(value['predicate'], provenance_pb2.Provenance())
assert predicate.build_definition.resolved_dependencies, 'no inputs'
";

/// What `pyspdxtools` says of a document.
pub fn spdx(path: &Path) -> Output {
    let program = programs().join("pyspdxtools");
    output(tool(&program.to_string_lossy()).arg("-i").arg(path))
}

/// What `in-toto-attestation` says of a statement with SLSA provenance.
pub fn in_toto(path: &Path) -> Output {
    let program = programs().join("python");
    output(
        tool(&program.to_string_lossy())
            .args(["-c", IN_TOTO])
            .arg(path),
    )
}

fn programs() -> PathBuf {
    script("validators", &[])
}
