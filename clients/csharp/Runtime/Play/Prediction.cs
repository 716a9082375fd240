// Client-side prediction of the player's own entity: inputs apply immediately, and again on top of each server state.
//
// The server's state arrives one round trip late and contains the inputs up to a sequence number. Later inputs are applied
// again; if the game's step equals the server's, the result is the position that the player already sees. As in Gambetta's
// "Client-Side Prediction and Server Reconciliation". Where it differs, `Sample` hides the correction over some frames.

using System;

namespace Tickwire
{
    /// <summary>Predicts the state of one entity. Times are milliseconds of a monotonic clock, such as
    /// <see cref="TickwireClient.NowMs"/>. Allocates nothing after its creation.</summary>
    /// <typeparam name="TState">A struct with the state of the entity.</typeparam>
    /// <typeparam name="TInput">The inputs of the room; `tickwire codegen csharp` generates the struct.</typeparam>
    public sealed class Prediction<TState, TInput>
        where TState : struct
        where TInput : struct, IInputs
    {
        private const int PendingMax = 128;
        private readonly PredictionStep<TState, TInput> step;
        private readonly PredictionOptions<TState> options;
        private readonly Smoother<TState> smoother;
        private readonly Pending[] pending = new Pending[PendingMax];
        private readonly Field[] inputFields;
        private int first;
        private int count;
        private TState confirmed;
        private TState predicted;
        private TState local;
        private bool hasLocal;
        private bool hasState;

        private struct Pending
        {
            public uint Seq;
            public TInput Input;
            public TState After;
        }

        /// <param name="step">Applies an input to a state for one tick, as the room does, and returns the new state.</param>
        /// <param name="options">The fields of inputs, and how errors are corrected.</param>
        /// <exception cref="MalformedMessageException">The description of an input is invalid.</exception>
        public Prediction(PredictionStep<TState, TInput> step, PredictionOptions<TState> options = null)
        {
            this.step = step;
            this.options = options ?? new PredictionOptions<TState>();
            smoother = new Smoother<TState>(this.options);
            inputFields = this.options.Inputs == null ? new Field[0] : OrderFields(Field.FromDescriptions(this.options.Inputs));
        }

        /// <summary>Whether a server state was received.</summary>
        public bool HasState
        {
            get { return hasState; }
        }

        /// <summary>The predicted state, for the game's own rules; the default before the first server state.</summary>
        public TState Now
        {
            get { return predicted; }
        }

        /// <summary>The number of inputs that the server has not acknowledged.</summary>
        public int Unacknowledged
        {
            get { return count; }
        }

        /// <summary>Returns the state to draw: between the last two steps, and without jumps where the server has corrected the
        /// prediction. The default before the first server state.</summary>
        public TState Sample(double nowMs)
        {
            return hasState ? smoother.Sample(predicted, nowMs) : predicted;
        }

        /// <summary>Applies an input that was sent.</summary>
        /// <param name="seq">The result of `SendInput`; 0 means that the input was not sent, and changes nothing.</param>
        /// <param name="input">The input, as it was passed to `SendInput`.</param>
        /// <param name="nowMs">The time.</param>
        public void Sent(uint seq, TInput input, double nowMs)
        {
            if (seq == 0)
            {
                return;
            }

            Quantise(ref input);
            if (count == PendingMax)
            {
                first = (first + 1) % PendingMax;
                count--;
            }

            TState after = hasState ? step(predicted, input) : predicted;
            pending[(first + count) % PendingMax] = new Pending { Seq = seq, Input = input, After = after };
            count++;
            if (hasState)
            {
                smoother.Stepped(predicted, nowMs);
                predicted = after;
            }
        }

        /// <summary>Applies a server state, which contains all inputs up to `seq`.</summary>
        public void Confirmed(TState state, uint seq, double nowMs)
        {
            RemoveUntil(seq);
            confirmed = state;
            bool isFirst = !hasState;
            hasState = true;
            Replay(isFirst, nowMs);
        }

        /// <summary>Applies an acknowledgement: the last server state contains all inputs up to `seq`.</summary>
        /// <remarks>If no new state was sent, these inputs changed nothing at the server.</remarks>
        public void Acknowledged(uint seq, double nowMs)
        {
            RemoveUntil(seq);
            Replay(false, nowMs);
        }

        /// <summary>Discards pending inputs, after the connection that they were sent on was lost.</summary>
        public void ClearPending(double nowMs)
        {
            Acknowledged(uint.MaxValue, nowMs);
        }

        /// <summary>Discards the state and all pending inputs.</summary>
        public void Reset()
        {
            first = count = 0;
            hasState = hasLocal = false;
            predicted = default(TState);
            smoother.Reset();
        }

        /// <summary>Updates the prediction from a client's events, until the result is disposed.</summary>
        /// <param name="client">The client.</param>
        /// <param name="read">Reads the own entity's state in the client's world.</param>
        public IDisposable Follow(TickwireClient client, TryReadState<TState> read)
        {
            return new PredictionFollower<TState, TInput>(this, client, read);
        }

        private void RemoveUntil(uint seq)
        {
            while (count > 0 && pending[first].Seq <= seq)
            {
                local = pending[first].After;
                hasLocal = hasState;
                first = (first + 1) % PendingMax;
                count--;
            }
        }

        private void Replay(bool isFirst, double nowMs)
        {
            if (!hasState)
            {
                return;
            }

            if (hasLocal && options.CopyLocal != null)
            {
                options.CopyLocal(local, ref confirmed);
            }

            TState before = predicted;
            predicted = confirmed;
            for (int index = 0; index < count; index++)
            {
                int at = (first + index) % PendingMax;
                predicted = step(predicted, pending[at].Input);
                pending[at].After = predicted;
            }

            if (!isFirst)
            {
                smoother.Corrected(before, predicted, nowMs);
            }
        }

        /// <summary>Rounds an input to the values that the server reads.</summary>
        private void Quantise(ref TInput input)
        {
            for (int index = 0; index < inputFields.Length; index++)
            {
                if (inputFields[index] != null)
                {
                    input.SetValueAt(index, inputFields[index].Round(input.ValueAt(index)));
                }
            }
        }

        /// <summary>Returns the fields in the order of the input's names; null for one that the room does not have.</summary>
        private static Field[] OrderFields(Field[] fields)
        {
            string[] names = default(TInput).Names;
            var ordered = new Field[names.Length];
            for (int index = 0; index < names.Length; index++)
            {
                ordered[index] = Array.Find(fields, field => field.Name == names[index]);
            }

            return ordered;
        }
    }
}
