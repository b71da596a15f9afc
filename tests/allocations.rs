//! A request that is admitted costs no allocation in the core: counted, not timed.
//!
//! `benches/allocations.rs` prints the counts of the refusals too.

use allocation_counter::measure;
use portcullis::{
    Admission,
    clock::Clock,
    problem::{self, Problem},
};
use portcullis_test::directory::{DirectoryFixture, cases::cases};

#[test]
fn admitted_request_allocates_nothing() {
    let (quiet, busy) = (DirectoryFixture::new(), DirectoryFixture::new());
    let now = quiet.clock.now();
    for case in cases(&quiet, &busy, now).iter().filter(|case| case.admits) {
        let mut admission = Some(case.admission());
        let mut admitted = false;
        let counted = measure(|| {
            admitted = admission.as_mut().is_some_and(|admission| case.decide(admission, now).is_ok());
            admission = None;
        });
        assert!(admitted, "{}", case.name);
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{}", case.name);
    }
}

/// The counter counts: the test above does not pass for want of an allocator under it.
#[test]
fn denial_allocates_its_body_only() {
    let (quiet, busy) = (DirectoryFixture::new(), DirectoryFixture::new());
    let now = quiet.clock.now();
    for case in cases(&quiet, &busy, now).iter().filter(|case| !case.admits) {
        let denial = case.decide(&mut case.admission(), now).expect_err(case.name);
        let mut length = 0;
        let counted = measure(|| {
            length = problem::render(&denial, &Problem, &Admission::default()).body().len();
        });
        assert!(length > 0 && counted.bytes_total >= length as u64, "{}: {counted:?}", case.name);
    }
}
