// Passes the states and acknowledgements of a client to a prediction.
//
// An acknowledgement arrives before the state of its tick, if that tick has one. It is therefore applied with the next state, or
// with the next acknowledgement or Pong if no state has come by then.

using System;

namespace Tickwire
{
    internal sealed class PredictionFollower<TState, TInput> : IDisposable
        where TState : struct
        where TInput : struct, IInputs
    {
        private readonly Prediction<TState, TInput> prediction;
        private readonly TickwireClient client;
        private readonly TryReadState<TState> read;
        private uint waitingSeq;
        private bool isWaiting;

        public PredictionFollower(
            Prediction<TState, TInput> prediction, TickwireClient client, TryReadState<TState> read)
        {
            this.prediction = prediction;
            this.client = client;
            this.read = read;
            client.OnState += StateApplied;
            client.OnAcknowledged += InputAcknowledged;
            client.OnPong += PongReceived;
            client.OnReconnected += Reconnected;
            client.OnJoined += Joined;
            client.OnLeft += Left;
        }

        public void Dispose()
        {
            client.OnState -= StateApplied;
            client.OnAcknowledged -= InputAcknowledged;
            client.OnPong -= PongReceived;
            client.OnReconnected -= Reconnected;
            client.OnJoined -= Joined;
            client.OnLeft -= Left;
        }

        private void StateApplied(StateApplied update)
        {
            isWaiting = false;
            TState state;
            if (read(out state))
            {
                prediction.Confirmed(state, client.Core.AcknowledgedSeq, TickwireClient.NowMs);
            }
            else
            {
                prediction.Acknowledged(client.Core.AcknowledgedSeq, TickwireClient.NowMs);
            }
        }

        private void InputAcknowledged(InputAcknowledged update)
        {
            ApplyAcknowledgement();
            isWaiting = true;
            waitingSeq = update.Seq;
        }

        private void PongReceived(PongReceived update)
        {
            ApplyAcknowledgement();
        }

        private void ApplyAcknowledgement()
        {
            if (isWaiting)
            {
                isWaiting = false;
                prediction.Acknowledged(waitingSeq, TickwireClient.NowMs);
            }
        }

        private void Reconnected(bool hasResumed)
        {
            prediction.ClearPending(TickwireClient.NowMs);
        }

        private void Joined(JoinedMessage joined)
        {
            prediction.ClearPending(TickwireClient.NowMs);
        }

        private void Left(string reason)
        {
            prediction.Reset();
        }
    }
}
