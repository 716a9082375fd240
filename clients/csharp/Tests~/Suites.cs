// The tests of all files. tests/csharp runs each of them as a test of its own.

using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class Suites
    {
        public static IEnumerable<Test> All()
        {
            foreach (IEnumerable<Test> suite in new[]
            {
                GoldenTests.All(),
                CoreTests.All(),
                SessionCoreTests.All(),
                SectionTests.All(),
                TrackerTests.All(),
                ValueTests.All(),
                FuzzTests.All(),
                AllocationTests.All(),
                PlayTests.All(),
                PredictionTests.All(),
                ClientTests.All(),
                AccountTests.All(),
            })
            {
                foreach (Test test in suite)
                {
                    yield return test;
                }
            }
        }
    }
}
