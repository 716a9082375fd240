// Relates MatchStatus and Redirect messages to the waiting match request.
//
// The server answers a MatchCancel with CANCELLED, or with FOUND and a reason if the match was already final: FOUND without a
// reason and its Redirect were then sent before. A client that leaves the queue and immediately enters it again receives
// messages about the previous entry, which must not end the new wait. CANCELLED also arrives without a MatchCancel. Messages
// arrive in order, and the first message about a new entry is WAITING:
//
//     not queued --WAITING--> queued --CANCELLED, TIMED_OUT, abandoned--> not queued
//                               +--FOUND--> the next Redirect leads to the match

using System;

namespace Tickwire
{
    /// <summary>The meaning of a queue message for the waiting request.</summary>
    internal enum QueueMeaning
    {
        /// <summary>There is no such message.</summary>
        Absent,

        /// <summary>The message is about an abandoned queue entry.</summary>
        None,
        Progress,

        /// <summary>The wait ended without a match.</summary>
        End,
    }

    /// <summary>A session's entry in the matchmaking queue, as the client knows it.</summary>
    internal sealed class MatchQueue
    {
        private string requestedMode = "";
        private bool isQueued;
        private int cancels;
        private QueueMeaning redirect; // the meaning of the Redirect after FOUND

        /// <summary>Whether a MatchCancel has no answer yet. It is sent again after a resume.</summary>
        public bool HasCancelled
        {
            get { return cancels > 0; }
        }

        /// <summary>Records that a MatchRequest is sent.</summary>
        public void Request(string mode)
        {
            requestedMode = mode;
        }

        /// <summary>Records that the client stopped waiting. Returns whether it must send a MatchCancel.</summary>
        public bool Abandon()
        {
            if (requestedMode == "")
            {
                return false;
            }

            requestedMode = "";
            isQueued = false;
            cancels++;
            return true;
        }

        /// <summary>Records a resume: an unanswered MatchCancel is sent again, once.</summary>
        public void Resumed()
        {
            cancels = Math.Min(cancels, 1);
        }

        /// <summary>Records a new session, which is not queued. A waiting request is sent again.</summary>
        public void Reset()
        {
            isQueued = false;
            cancels = 0;
            redirect = QueueMeaning.Absent;
        }

        /// <summary>Returns the meaning of a MatchStatus.</summary>
        public QueueMeaning StatusReceived(MatchStatusMessage status)
        {
            if (status.State == QueueState.Found)
            {
                return status.Reason != "" ? CancelAnswered() : Found(status);
            }

            if (cancels > 0)
            {
                cancels -= status.State == QueueState.Cancelled ? 1 : 0;
                return QueueMeaning.None;
            }

            bool wasQueued = isQueued;
            isQueued = status.State == QueueState.Waiting;
            if (isQueued)
            {
                return QueueMeaning.Progress;
            }

            return wasQueued ? End() : QueueMeaning.None;
        }

        /// <summary>Returns the meaning of a Redirect for the wait; Absent if it answers a Join.</summary>
        public QueueMeaning RedirectReceived()
        {
            QueueMeaning meaning = redirect;
            redirect = QueueMeaning.Absent;
            return meaning;
        }

        /// <summary>Handles FOUND as the answer to a late MatchCancel; no Redirect follows it.</summary>
        private QueueMeaning CancelAnswered()
        {
            cancels = Math.Max(0, cancels - 1);
            return QueueMeaning.None;
        }

        private QueueMeaning End()
        {
            requestedMode = "";
            return QueueMeaning.End;
        }

        /// <summary>Handles a found match. The client joins it if it waits for a match of this mode.</summary>
        private QueueMeaning Found(MatchStatusMessage status)
        {
            cancels = 0;
            isQueued = false;
            if (requestedMode == "")
            {
                redirect = QueueMeaning.None;
            }
            else if (status.Mode == "" || status.Mode == requestedMode)
            {
                redirect = QueueMeaning.Progress;
            }
            else
            {
                redirect = End(); // the match ends the request for the other mode
            }

            return redirect;
        }
    }
}
