//! The tests run what users run: a client and an agent without debug assertions, whose arithmetic
//! does not overflow silently.

/// Client and tests are of one build, and link one library.
#[test]
fn the_program_under_test_has_no_debug_assertions() {
    // Read at run time, so that the compiler does not take the test for a constant.
    let has_them = std::hint::black_box(infra::HAS_DEBUG_ASSERTIONS);
    assert!(!has_them, "the profile of the tests has debug assertions, which releases lack");
}

#[test]
fn arithmetic_that_overflows_ends_the_test() {
    let most = std::hint::black_box(u8::MAX);
    assert!(std::panic::catch_unwind(|| std::hint::black_box(most + 1)).is_err());
}
