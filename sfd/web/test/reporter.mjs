// Says of vitest's tests what `cargo test` would say of its own, so that one program counts both.

export default class Reporter {
  onTestCaseResult(test) {
    const { state, errors } = test.result();
    if (state !== "failed") return;
    console.log(`test ${test.fullName} ... FAILED`);
    for (const error of errors) console.log(error.stack ?? error.message);
  }

  onTestRunEnd(modules, unhandled) {
    let passed = 0;
    let failed = unhandled.length;
    for (const error of unhandled) console.log(error.stack ?? error.message);
    for (const module of modules) {
      // A file that cannot be loaded has no tests, and has failed all the same.
      const errors = module.errors();
      failed += errors.length;
      for (const error of errors) console.log(`${module.moduleId}: ${error.stack ?? error.message}`);
      for (const test of module.children.allTests()) {
        if (test.result().state === "passed") passed += 1;
        else failed += 1;
      }
    }
    console.log(`test result: ${failed === 0 ? "ok" : "FAILED"}. ${passed} passed; ${failed} failed; of the front end's pure parts`);
  }
}
