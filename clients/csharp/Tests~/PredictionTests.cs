// Prediction: replayed inputs, quantised inputs, local fields, and corrections that are smoothed.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public struct TestShip
    {
        public double X;
        public double Heading;
        public double Speed; // the server does not send it
    }

    public struct TestInput : IInputs
    {
        private static readonly string[] InputNames = { "thrust", "turn" };
        public double Thrust;
        public double Turn;

        public string[] Names
        {
            get { return InputNames; }
        }

        public double ValueAt(int index)
        {
            return index == 0 ? Thrust : Turn;
        }

        public void SetValueAt(int index, double value)
        {
            if (index == 0)
            {
                Thrust = value;
            }
            else
            {
                Turn = value;
            }
        }
    }

    public static class PredictionTests
    {
        public static IEnumerable<Test> All()
        {
            yield return new Test("prediction: inputs apply at once, and again on top of each state", Replayed);
            yield return new Test("prediction: inputs are quantised as the server does", QuantisedInputs);
            yield return new Test("prediction: fields that the server does not send follow from the inputs", LocalFields);
            yield return new Test("prediction: a correction decays with its half life", Decays);
            yield return new Test("prediction: a large correction is applied at once", Snaps);
            yield return new Test("prediction: angles are corrected by the shorter way", TurnsBack);
            yield return new Test("prediction: drawn between the last two steps", BetweenSteps);
            yield return new Test("prediction: the oldest of too many inputs are dropped", TooMany);
            yield return new Test("prediction: a step allocates nothing", Allocation);
        }

        private static TestShip Step(in TestShip ship, in TestInput input)
        {
            return new TestShip
            {
                X = ship.X + input.Thrust,
                Heading = ship.Heading + input.Turn,
                Speed = ship.Speed + 1,
            };
        }

        private static Prediction<TestShip, TestInput> Create(Action<PredictionOptions<TestShip>> change = null)
        {
            var options = new PredictionOptions<TestShip>();
            options.Fields
                .Field((in TestShip ship) => ship.X, (ref TestShip ship, double value) => ship.X = value)
                .Angle((in TestShip ship) => ship.Heading, (ref TestShip ship, double value) => ship.Heading = value);
            if (change != null)
            {
                change(options);
            }

            return new Prediction<TestShip, TestInput>(Step, options);
        }

        private static void Replayed()
        {
            Prediction<TestShip, TestInput> prediction = Create();
            prediction.Sent(1, new TestInput { Thrust = 5 }, 0);
            Check.That(!prediction.HasState, "there is no state before the first of the server");
            prediction.Confirmed(new TestShip { X = 10 }, 0, 0);
            Check.Near(15, prediction.Now.X, 1e-9, "with the input that was sent before");
            prediction.Sent(0, new TestInput { Thrust = 7 }, 0);
            Check.Near(15, prediction.Now.X, 1e-9, "an input that was not sent");
            prediction.Sent(2, new TestInput { Thrust = 1 }, 0);
            prediction.Sent(3, new TestInput { Thrust = 2 }, 0);
            Check.Near(18, prediction.Now.X, 1e-9, "with all inputs");
            prediction.Confirmed(new TestShip { X = 15.5 }, 2, 0);
            Check.Near(17.5, prediction.Now.X, 1e-9, "the state of the server and the rest");
            Check.Equal(1, prediction.Unacknowledged, "inputs without an acknowledgement");
            prediction.Acknowledged(3, 0);
            Check.Near(15.5, prediction.Now.X, 1e-9, "an input that changed nothing at the server");
            prediction.Sent(4, new TestInput { Thrust = 1 }, 0);
            prediction.ClearPending(0);
            Check.Near(15.5, prediction.Now.X, 1e-9, "without inputs of a lost connection");
            prediction.Reset();
            Check.That(!prediction.HasState && prediction.Unacknowledged == 0, "reset");
        }

        private static void QuantisedInputs()
        {
            Prediction<TestShip, TestInput> prediction = Create(options => options.Inputs = new[]
            {
                new FieldDescription { Name = "thrust", Kind = FieldKind.Real, Bits = 4, Low = -1, High = 1, Step = 0.25 },
            });
            prediction.Confirmed(default(TestShip), 0, 0);
            prediction.Sent(1, new TestInput { Thrust = 0.3, Turn = 0.3 }, 0);
            Check.Near(0.25, prediction.Now.X, 1e-9, "a field of the room");
            Check.Near(0.3, prediction.Now.Heading, 1e-9, "a field that the room does not have");
            prediction.Sent(2, new TestInput { Thrust = 9 }, 0);
            Check.Near(1.25, prediction.Now.X, 1e-9, "a value out of range");
        }

        private static void LocalFields()
        {
            Prediction<TestShip, TestInput> prediction = Create(options =>
            {
                options.CopyLocal = (in TestShip from, ref TestShip to) => to.Speed = from.Speed;
            });
            prediction.Confirmed(default(TestShip), 0, 0);
            prediction.Sent(1, default(TestInput), 0);
            prediction.Sent(2, default(TestInput), 0);
            Check.Near(2, prediction.Now.Speed, 1e-9, "after two steps");
            prediction.Confirmed(default(TestShip), 1, 0);
            Check.Near(2, prediction.Now.Speed, 1e-9, "from the acknowledged input, and one step");
            prediction.Acknowledged(2, 0);
            Check.Near(2, prediction.Now.Speed, 1e-9, "from the acknowledged inputs");
        }

        // -- smoothing --------------------------------------------------------------------------------------

        private static void Decays()
        {
            Prediction<TestShip, TestInput> prediction = Create();
            prediction.Confirmed(new TestShip { X = 10 }, 0, 1000);
            Check.Near(10, prediction.Sample(1000).X, 1e-9, "the first state");
            prediction.Confirmed(new TestShip { X = 2 }, 0, 1000);
            Check.Near(10, prediction.Sample(1000).X, 1e-9, "at the correction nothing jumps");
            Check.Near(6, prediction.Sample(1100).X, 1e-9, "after a half life");
            Check.Near(4, prediction.Sample(1200).X, 1e-9, "after two");
            prediction.Confirmed(new TestShip { X = 1 }, 0, 1200);
            Check.Near(4, prediction.Sample(1200).X, 1e-9, "a second correction adds to the rest of the first");
            Check.Near(2, prediction.Now.X + (prediction.Sample(1300).X - prediction.Now.X) / 1.5, 1e-9, "and decays");
        }

        private static void Snaps()
        {
            Prediction<TestShip, TestInput> prediction = Create(options => options.SnapDistance = 5);
            prediction.Confirmed(new TestShip { X = 10, Heading = 1 }, 0, 0);
            prediction.Confirmed(new TestShip { X = 2, Heading = 0 }, 0, 0);
            Check.Near(2, prediction.Sample(0).X, 1e-9, "above the distance");
            Check.Near(0, prediction.Sample(0).Heading, 1e-9, "its angle as well");
            prediction.Confirmed(new TestShip { X = 6 }, 0, 0);
            Check.Near(2, prediction.Sample(0).X, 1e-9, "below the distance");
            Prediction<TestShip, TestInput> sudden = Create(options => options.HalfLifeMs = 0);
            sudden.Confirmed(new TestShip { X = 10 }, 0, 0);
            sudden.Confirmed(new TestShip { X = 9 }, 0, 0);
            Check.Near(9, sudden.Sample(0).X, 1e-9, "without a half life");
        }

        private static void TurnsBack()
        {
            Prediction<TestShip, TestInput> prediction = Create();
            prediction.Confirmed(new TestShip { Heading = 0.1 }, 0, 0);
            prediction.Confirmed(new TestShip { Heading = 2 * Math.PI - 0.1 }, 0, 0);
            Check.Near(2 * Math.PI, prediction.Sample(100).Heading, 1e-9, "half of the shorter way");
        }

        private static void BetweenSteps()
        {
            Prediction<TestShip, TestInput> prediction = Create(options => options.TickMs = 50);
            prediction.Confirmed(default(TestShip), 0, 0);
            prediction.Sent(1, new TestInput { Thrust = 10 }, 100);
            Check.Near(0, prediction.Sample(100).X, 1e-9, "at the step");
            Check.Near(5, prediction.Sample(125).X, 1e-9, "in the middle");
            Check.Near(10, prediction.Sample(170).X, 1e-9, "after it");
            prediction.Confirmed(new TestShip { X = 6 }, 1, 125);
            Check.Near(5, prediction.Sample(125).X, 1e-9, "a correction in the middle does not jump");
        }

        private static void TooMany()
        {
            Prediction<TestShip, TestInput> prediction = Create();
            prediction.Confirmed(default(TestShip), 0, 0);
            for (uint seq = 1; seq <= 200; seq++)
            {
                prediction.Sent(seq, new TestInput { Thrust = 1 }, 0);
            }

            Check.Equal(128, prediction.Unacknowledged, "inputs without an acknowledgement");
            prediction.Confirmed(default(TestShip), 199, 0);
            Check.Near(1, prediction.Now.X, 1e-9, "the last input");
        }

        private static void Allocation()
        {
            Prediction<TestShip, TestInput> prediction = Create(options =>
            {
                options.CopyLocal = (in TestShip from, ref TestShip to) => to.Speed = from.Speed;
                options.Inputs = new[]
                {
                    new FieldDescription { Name = "turn", Kind = FieldKind.Real, Bits = 4, Low = -1, High = 1, Step = 0.25 },
                };
            });
            long allocated = 0;
            for (uint seq = 1; seq <= 100; seq++)
            {
                long before = GC.GetAllocatedBytesForCurrentThread();
                prediction.Sent(seq, new TestInput { Thrust = 1, Turn = 0.3 }, seq);
                prediction.Confirmed(new TestShip { X = seq - 3.0 }, seq - 3, seq);
                prediction.Sample(seq);
                allocated = seq < 10 ? 0 : allocated + GC.GetAllocatedBytesForCurrentThread() - before;
            }

            Check.Equal(0L, allocated, "bytes allocated");
        }
    }
}
